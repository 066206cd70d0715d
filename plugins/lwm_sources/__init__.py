"""Plugin lwm_sources: Parquet files and Hugging Face datasets, on disk and streamed. `plugin` lists the parts."""
