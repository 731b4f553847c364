"""The lost-per-acked table: what each ack level loses under each nemesis, on real processes."""
