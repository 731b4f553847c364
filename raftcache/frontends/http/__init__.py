"""The HTTP/JSON front end: bytes to commands, replies to bytes. A file is a feature; `app` joins them."""
