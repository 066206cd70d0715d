"""Plugin lwm_synthesis: questions and answers over long documents, made from short ones. `plugin` lists its parts."""
