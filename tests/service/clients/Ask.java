import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;

/** Posts each line of standard input to the address given, and prints each answer as one line. */
class Ask {
    public static void main(String[] arguments) throws Exception {
        // With all its defaults: so it offers HTTP/2.
        HttpClient client = HttpClient.newHttpClient();
        HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(arguments[0]))
            .header("Content-Type", "application/json");
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            HttpRequest.BodyPublisher body = HttpRequest.BodyPublishers.ofString(line);
            HttpResponse<String> answer =
                client.send(request.POST(body).build(), HttpResponse.BodyHandlers.ofString());
            System.out.println(answer.statusCode() + " " + answer.body().strip());
        }
    }
}
