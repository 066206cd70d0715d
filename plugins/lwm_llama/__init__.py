"""Plugin lwm_llama."""
