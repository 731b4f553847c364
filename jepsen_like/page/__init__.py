"""What is shown of a run: the page for a browser, the JSON document for programs, the summary for a terminal."""
