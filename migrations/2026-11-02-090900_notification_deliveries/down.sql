-- Its partitions go with it.
DROP TABLE notification_deliveries;
