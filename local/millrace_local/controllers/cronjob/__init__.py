"""CronJobs: Jobs at times that a cron line names."""
