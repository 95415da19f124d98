"""What Elementary has seen, told to people: alerts, its report, the page of runs, and the incidents that prove all of it."""
