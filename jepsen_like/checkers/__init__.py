"""The properties that histories are held to, a small file each."""
