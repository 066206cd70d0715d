"""Made-up videos whose every fact is known: to train on, to generate from captions, to ask questions about."""
