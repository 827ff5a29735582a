import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.io.PrintStream;
import java.lang.reflect.Field;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.kafka.common.utils.Exit;
import org.slf4j.LoggerFactory;

/**
 * Runs command-line classes inside one JVM, several at once: to start a JVM for each would take most of the time.
 * Needs --add-opens java.base/java.lang=ALL-UNNAMED, for the shutdown hooks of a tool.
 *
 * <p>Standard input has one JSON object a line: {"id": 1, "class": …, "args": […], "stdin": …} runs a class's
 * main, {"stop": 1} does what SIGTERM would do to it, and {"read": 1} asks what it has written so far. Standard
 * output has one line for each: {"id": 1, "exit": 0, "out": …, "err": …} when a main has ended, the same without
 * "exit" to a read.
 */
public final class ToolRunner {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final Map<Integer, Run> RUNS = new ConcurrentHashMap<>();
    private static final PrintStream ANSWERS = System.out;

    /** Thrown where a JVM would have ended. */
    private static final class Exited extends Error {
        Exited() {
            super("exit", null, false, false);
        }
    }

    /** One tool with its threads: they stay in their group, which says whose output it is that a thread writes. */
    private static final class Run extends ThreadGroup {
        final int id;
        final InputStream in;
        final ByteArrayOutputStream out = new ByteArrayOutputStream();
        final ByteArrayOutputStream err = new ByteArrayOutputStream();
        final List<Thread> hooks = new ArrayList<>();
        boolean ended;

        Run(int id, String stdin) {
            super("tool-" + id);
            this.id = id;
            this.in = new ByteArrayInputStream(stdin.getBytes(StandardCharsets.UTF_8));
        }

        /** Of the thread that asks, or null. */
        static Run current() {
            ThreadGroup group = Thread.currentThread().getThreadGroup();
            while (group != null && !(group instanceof Run)) group = group.getParent();
            return (Run) group;
        }

        synchronized void addHook(Runnable hook) {
            hooks.add(new Thread(this, hook, "hook"));
        }

        /** Each hook runs once: at a stop, or when main has ended. */
        void runHooks() {
            List<Thread> all;
            synchronized (this) {
                all = new ArrayList<>(hooks);
                hooks.clear();
            }
            for (Thread hook : hooksOfRuntime()) {
                if (hook.getThreadGroup() == this && Runtime.getRuntime().removeShutdownHook(hook)) all.add(hook);
            }
            all.forEach(Thread::start);
            for (Thread hook : all) {
                try {
                    hook.join();
                } catch (InterruptedException stopped) {
                    return;
                }
            }
        }

        /** What the end of a JVM would do: hooks, then nothing that is written later counts. */
        void end(int code) {
            synchronized (this) {
                if (ended) return;
                ended = true;
            }
            runHooks();
            System.out.flush();
            answer(written().put("exit", code));
            RUNS.remove(id);
        }

        ObjectNode written() {
            return JSON.createObjectNode()
                .put("id", id)
                .put("out", out.toString(StandardCharsets.UTF_8))
                .put("err", err.toString(StandardCharsets.UTF_8));
        }
    }

    public static void main(String[] args) throws Exception {
        System.setErr(new PrintStream(OutputStream.nullOutputStream()));
        LoggerFactory.getILoggerFactory(); // says once that nobody logs; no tool shall say so
        System.setOut(new PrintStream(new Dispatch(false), true, StandardCharsets.UTF_8));
        System.setErr(new PrintStream(new Dispatch(true), true, StandardCharsets.UTF_8));
        Exit.setExitProcedure(ToolRunner::exit);
        Exit.setHaltProcedure(ToolRunner::exit);
        Exit.setShutdownHookAdder((name, hook) -> Run.current().addHook(hook));
        BufferedReader requests = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        System.setIn(new StandardInput());
        for (String line = requests.readLine(); line != null; line = requests.readLine()) {
            JsonNode request = JSON.readTree(line);
            if (request.has("stop")) {
                Run run = RUNS.get(request.get("stop").asInt());
                if (run != null) new Thread(run, run::runHooks).start();
            } else if (request.has("read")) {
                Run run = RUNS.get(request.get("read").asInt());
                if (run != null) answer(run.written()); // else the answer with its end is on its way
            } else {
                start(request);
            }
        }
        Runtime.getRuntime().halt(0); // tools that still run end with their owner
    }

    private static void start(JsonNode request) {
        List<String> args = new ArrayList<>();
        request.get("args").forEach(each -> args.add(each.asText()));
        Run run = new Run(request.get("id").asInt(), request.path("stdin").asText());
        RUNS.put(run.id, run);
        String name = request.get("class").asText();
        new Thread(run, () -> run.end(call(name, args.toArray(String[]::new))), "main").start();
    }

    /** The exit code, unless main has exited by itself. */
    private static int call(String name, String[] args) {
        try {
            Class.forName(name).getMethod("main", String[].class).invoke(null, (Object) args);
            return 0;
        } catch (InvocationTargetException failed) {
            failed.getCause().printStackTrace();
            return 1;
        } catch (ReflectiveOperationException noSuchTool) {
            noSuchTool.printStackTrace();
            return 127;
        }
    }

    private static void exit(int code, String message) {
        Run.current().end(code);
        throw new Exited();
    }

    private static synchronized void answer(ObjectNode answer) {
        ANSWERS.println(answer);
        ANSWERS.flush();
    }

    /** The hooks of tools that do not go through Exit, such as VerifiableConsumer. */
    private static List<Thread> hooksOfRuntime() {
        try {
            Field hooks = Class.forName("java.lang.ApplicationShutdownHooks").getDeclaredField("hooks");
            hooks.setAccessible(true);
            synchronized (hooks.getDeclaringClass()) {
                return ((Map<?, ?>) hooks.get(null)).keySet().stream().map(Thread.class::cast).toList();
            }
        } catch (ReflectiveOperationException changed) {
            throw new LinkageError("this JVM keeps its shutdown hooks elsewhere", changed);
        }
    }

    /** Standard output or error: of the run that the writing thread belongs to. */
    private static final class Dispatch extends OutputStream {
        private final boolean error;

        Dispatch(boolean error) {
            this.error = error;
        }

        private OutputStream target() {
            Run run = Run.current();
            if (run == null) return OutputStream.nullOutputStream();
            return error ? run.err : run.out;
        }

        @Override
        public void write(int value) throws IOException {
            target().write(value);
        }

        @Override
        public void write(byte[] bytes, int from, int length) throws IOException {
            target().write(bytes, from, length);
        }
    }

    /** Standard input: of the run that the reading thread belongs to. */
    private static final class StandardInput extends InputStream {
        @Override
        public int read() throws IOException {
            return Run.current().in.read();
        }

        @Override
        public int read(byte[] bytes, int from, int length) throws IOException {
            return Run.current().in.read(bytes, from, length);
        }

        @Override
        public int available() throws IOException {
            return Run.current().in.available();
        }
    }
}
