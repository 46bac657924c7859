"""The status page's content, live in a terminal."""
