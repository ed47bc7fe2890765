"""The replay benchmark: recorded markets, a venue that answers as they would have, and what orders cost.

feed        recordings read into one stream of events
venue       the recorded market with our orders in it: queues, takes, what they leave behind
trader      who sends orders: the production machine, and the wire between it and the venue
baselines   simple ways to trade, to be beaten
play        one pass over a recording with many parents at once
figures     what it cost, with intervals
cases       which recordings, sizes and settings are measured
"""
