-- What is old among the commands is found by its id: one of version 7 begins with its time, so that the primary key has the oldest first. Only ids of
-- other versions need an index by time, which is empty where callers use none of them. It is made while nobody appends: one look at the table.
CREATE INDEX commands_without_a_time ON commands (recorded_at) WHERE get_byte(uuid_send(command_id), 6) >> 4 <> 7;
