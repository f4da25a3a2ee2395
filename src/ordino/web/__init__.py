"""The HTTP kit: bodies, problems, answers, bulk loads. Of its files, `bodies` and `problems` need no web framework."""
