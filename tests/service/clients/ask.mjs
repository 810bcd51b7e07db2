// Posts each line of standard input to the address given, and prints each answer as one line.
import { createInterface } from "node:readline";

const headers = { "Content-Type": "application/json" };
for await (const body of createInterface({ input: process.stdin })) {
  const answer = await fetch(process.argv[2], { method: "POST", headers, body });
  console.log(answer.status, (await answer.text()).trim());
}
