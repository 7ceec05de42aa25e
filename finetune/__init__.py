"""From raw dialogue to a served character: prepare, view, train, export."""
