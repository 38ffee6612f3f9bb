"""Scripts that print ratios against a peer which runs beside them."""
