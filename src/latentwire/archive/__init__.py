"""The folder that one uploads for a DOI."""
