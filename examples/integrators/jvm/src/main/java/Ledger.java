import com.fasterxml.jackson.databind.ObjectMapper;
import io.cloudevents.CloudEvent;
import java.io.IOException;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * An entry for each event of an order, and what was taken in all, in SQLite. An entry is written once, and what it brings is added in the same
 * transaction: source and id of the event are its key.
 */
final class Ledger implements AutoCloseable {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final String[] TABLES = {
        """
        CREATE TABLE IF NOT EXISTS entries (
            source TEXT NOT NULL, id TEXT NOT NULL, order_id TEXT NOT NULL, version INTEGER NOT NULL, type TEXT NOT NULL,
            currency TEXT, minor_units INTEGER,
            PRIMARY KEY (source, id), UNIQUE (order_id, version))
        """,
        "CREATE TABLE IF NOT EXISTS takings (currency TEXT PRIMARY KEY, minor_units INTEGER NOT NULL)",
    };

    private final Connection database;
    private long repeats;

    Ledger(String file) throws SQLException {
        database = DriverManager.getConnection("jdbc:sqlite:" + file);
        for (var table : TABLES) {
            change(table);
        }
        database.setAutoCommit(false);
    }

    /** Takes events in; all of them or, when it fails, none. Those that it has are left out. */
    void take(List<CloudEvent> events) throws SQLException, IOException {
        try {
            for (var event : events) {
                take(event);
            }
            database.commit();
        } catch (SQLException | IOException | RuntimeException failed) {
            database.rollback();
            throw failed;
        }
    }

    private void take(CloudEvent event) throws SQLException, IOException {
        var source = event.getSource().toString();
        var version = Integer.parseInt((String) event.getExtension("streamversion"));
        var data = JSON.readTree(event.getData().toBytes());
        var orderId = data.get("orderId").textValue();
        var total = data.path("total");
        var minorUnits = total.isMissingNode() ? null : total.get("minorUnits").asLong();
        if (found("SELECT 1 FROM entries WHERE source <> ?", source)) {
            throw new IllegalStateException("this is not the log that the ledger was begun with: " + source);
        }
        var added = change("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (source, id) DO NOTHING",
                source, event.getId(), orderId, version, event.getType(), total.path("currency").textValue(), minorUnits);
        if (added == 0) {
            repeats++;
            return;
        }
        // Versions have no gaps. One that is missing is no longer in the topic: the offsets were lost, or the group began late.
        if (version > 1 && !found("SELECT 1 FROM entries WHERE order_id = ? AND version = ?", orderId, version - 1)) {
            throw new IllegalStateException("of order " + orderId + " version " + version + " came without what was before it: begin in the history");
        }
        switch (event.getType()) {
            case "reservation.order.v1.OrderConfirmed" -> takeIn(orderId, 1);
            case "reservation.order.v1.OrderCancelled" -> {
                if (data.path("previousState").asText().equals("ORDER_STATE_CONFIRMED")) {
                    takeIn(orderId, -1);
                }
            }
            // its entry is written, and brings nothing; so does that of a type that is added some day
            default -> { }
        }
    }

    /** Adds what the order costs. It was said when it was placed. */
    private void takeIn(String orderId, int times) throws SQLException {
        change("""
                INSERT INTO takings SELECT currency, ? * minor_units FROM entries WHERE order_id = ? AND version = 1
                ON CONFLICT (currency) DO UPDATE SET minor_units = takings.minor_units + excluded.minor_units
                """, times, orderId);
    }

    /** How many entries; how many orders by what happened to them last; what was taken; how many events came again to this process. */
    Map<String, Object> standing() throws SQLException {
        var standing = new LinkedHashMap<String, Object>();
        standing.put("entries", numbers("SELECT 'all', count(*) FROM entries").get("all"));
        standing.put("orders", numbers("SELECT type, count(*) FROM (SELECT type, max(version) FROM entries GROUP BY order_id) GROUP BY type ORDER BY type"));
        standing.put("takings", numbers("SELECT currency, minor_units FROM takings ORDER BY currency"));
        standing.put("repeats", repeats);
        return standing;
    }

    private Map<String, Long> numbers(String query) throws SQLException {
        try (var statement = database.prepareStatement(query); var rows = statement.executeQuery()) {
            var numbers = new LinkedHashMap<String, Long>();
            while (rows.next()) {
                numbers.put(rows.getString(1), rows.getLong(2));
            }
            return numbers;
        }
    }

    private boolean found(String query, Object... values) throws SQLException {
        try (var statement = prepared(query, values); var rows = statement.executeQuery()) {
            return rows.next();
        }
    }

    private int change(String text, Object... values) throws SQLException {
        try (var statement = prepared(text, values)) {
            return statement.executeUpdate();
        }
    }

    private PreparedStatement prepared(String text, Object... values) throws SQLException {
        var statement = database.prepareStatement(text);
        for (int at = 0; at < values.length; at++) {
            statement.setObject(at + 1, values[at]);
        }
        return statement;
    }

    @Override
    public void close() throws SQLException {
        database.close();
    }
}
