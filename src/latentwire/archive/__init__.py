"""The folder to upload for a DOI."""
