"""Folders of pictures and videos to shards of codes, and the source that trains on them."""
