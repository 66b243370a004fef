import java.util.ArrayList;
import java.util.List;

/** What was given on the command line: words in their places, what stands before the names of topics, and whether to end when all is read. */
record Arguments(List<String> words, String prefix, boolean once) {
    static Arguments of(String[] given, int words, String usage) {
        var found = new ArrayList<String>();
        var prefix = "";
        var once = false;
        for (int at = 0; at < given.length; at++) {
            switch (given[at]) {
                case "--once" -> once = true;
                case "--prefix" -> prefix = at + 1 < given.length ? given[++at] : "";
                default -> found.add(given[at]);
            }
        }
        if (found.size() != words) {
            System.err.println("usage: " + usage);
            System.exit(2);
        }
        return new Arguments(found, prefix, once);
    }

    String word(int at) {
        return words.get(at);
    }
}
