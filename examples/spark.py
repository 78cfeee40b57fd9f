"""Detect in images on Spark: mapInPandas calls a `paa.BatchDetector` in Spark's own workers.

    pip install 'paa[parquet]' pyspark
    spark-submit examples/spark.py CHECKPOINT 's3a://bucket/photos/*.jpg' --output s3a://bucket/detections

writes a table with a row for each detection. Spark reads the files here, so that its own credentials count; without
`bytes`, a table of addresses alone, the detector would fetch them itself. On a cluster, the checkpoint is at the same
path on each machine, or is a model's name, as mmdet/r50_mstrain_3x.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import pandas as pd
from pyspark.sql import DataFrame, SparkSession

import paa

SCHEMA = """image string, width int, height int, x1 float, y1 float, x2 float, y2 float, score float, label bigint,
name string, error string"""


def detect(files: DataFrame, detector: paa.BatchDetector) -> DataFrame:
    """Return a row for each detection. files: a table with the columns image and bytes."""

    def detections(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for batch in batches:
            yield detector(batch)

    return files.mapInPandas(detections, SCHEMA)


def main(arguments: list[str] | None = None) -> None:
    """Write the detections in all images of a folder or pattern."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkpoint")
    parser.add_argument("images")
    parser.add_argument("--output", default="detections")
    parser.add_argument("--device", help="cpu, cuda, ...; default: a GPU if there is one")
    given = parser.parse_args(arguments)

    spark = SparkSession.builder.appName("paa").getOrCreate()
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", 64)  # images in memory at a time
    files = spark.read.format("binaryFile").load(given.images).selectExpr("path as image", "content as bytes")
    found = detect(files, paa.BatchDetector(given.checkpoint, device=given.device))
    found.write.mode("overwrite").parquet(given.output)
    written = spark.read.parquet(given.output)
    bad = written.where("error is not null").count()
    print(f"{written.where('score is not null').count()} objects, {bad} images that cannot be read")


if __name__ == "__main__":
    main()
