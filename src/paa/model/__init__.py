"""The network: backbone, pyramid, head, and the detector made of them. Knows nothing of files."""
