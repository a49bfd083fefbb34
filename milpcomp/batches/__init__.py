"""Many certifications at once: on the processes of one machine or on a cluster, resumable, into one table."""
