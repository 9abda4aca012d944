"""reposync: one blocking call keeps a ChromaDB collection exactly in step with a repository."""
