"""One module for each noun; a route translates, delegates and translates back."""
