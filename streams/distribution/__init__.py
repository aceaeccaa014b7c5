"""Distribution: each alert to the public once, by transactions from the assembled packets to the public topics."""
