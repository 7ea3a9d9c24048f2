"""What every process needs before it knows any business: settings, database, logging, documents, life and death."""
