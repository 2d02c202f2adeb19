"""What language and vision-language plugins share: requests and answers, the backends behind them, tasks as data."""
