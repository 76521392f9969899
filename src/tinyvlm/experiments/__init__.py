"""One short file a week: its data view, its recipe per preset, and the arms of its claims."""
