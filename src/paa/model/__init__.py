"""The network: backbone, pyramid, head, and the detector made of them; it knows nothing of files."""
