"""What watches an environment on Azure: alerts, a workbook, saved queries, a budget."""
