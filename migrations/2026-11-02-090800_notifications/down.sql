-- Its partitions go with it.
DROP TABLE notifications;
