"""Clustering of embeddings, with exactly the number of clusters that was asked for and no empty cluster."""
