"""Detection in more images than one process can take: shards, worker processes, one folder of Parquet files."""
