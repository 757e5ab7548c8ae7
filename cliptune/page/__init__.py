"""Pages that need no other file: what the doctor, a run's report and the comparison of runs are made of."""
