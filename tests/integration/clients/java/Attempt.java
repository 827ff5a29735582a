import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.function.Supplier;

/** Prints what calls answer, or how they fail. */
final class Attempt {
    private static final long PATIENCE_MS = 30_000;

    interface Action {
        void run() throws Exception;
    }

    private Attempt() {}

    /** One line: the name and the result, or the exception with its message. */
    static void show(String name, Callable<?> call) {
        String result;
        try {
            result = String.valueOf(call.call());
        } catch (Exception failed) {
            Throwable cause = failed instanceof ExecutionException ? failed.getCause() : failed;
            result = cause.getClass().getSimpleName() + ": " + cause.getMessage();
        }
        System.out.println(name + " -> " + result);
    }

    static void act(String name, Action action) {
        show(name, () -> {
            action.run();
            return "ok";
        });
    }

    /** The exception's class only, where Kafka's clients put addresses, ids or times into the message. */
    static void fails(String name, Action action) {
        try {
            action.run();
            System.out.println(name + " -> ok");
        } catch (Exception failed) {
            Throwable cause = failed instanceof ExecutionException ? failed.getCause() : failed;
            System.out.println(name + " -> " + cause.getClass().getSimpleName());
        }
    }

    /** Asks again until it is so. */
    static void await(String what, Supplier<Boolean> isSo) throws InterruptedException {
        long deadline = System.currentTimeMillis() + PATIENCE_MS;
        while (!isSo.get()) {
            if (System.currentTimeMillis() > deadline) {
                System.out.println("waited in vain for " + what);
                return;
            }
            Thread.sleep(20);
        }
        System.out.println(what);
    }
}
