"""What a run needs of the machine: processes, devices, memory, files, the terminal."""
