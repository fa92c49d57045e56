import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.rnnedge.stream.RnnStream;

/** Steps a model on this machine's Java, as an Android application does, and prints the outputs. */
final class Check {
  public static void main(String[] arguments) throws Exception {
    RnnStream stream = new RnnStream();
    float[] output = new float[RnnStream.outputSize()];
    List<String> lines = Files.readAllLines(Path.of(arguments[0]));
    byte[] kept = stream.save();
    for (int turn = 0; turn < 2; turn++) {
      stream.restore(kept); // the second time through gives the same
      for (String line : lines) {
        String[] words = line.split(" ");
        float[] frame = new float[words.length];
        for (int i = 0; i < frame.length; i++) frame[i] = Float.parseFloat(words[i]);
        stream.step(frame, output);
        StringBuilder shown = new StringBuilder();
        for (float value : output) shown.append(value).append(' ');
        System.out.println(shown.toString().strip());
      }
    }
    refuse(() -> stream.step(new float[1], output));
    float[] wrong = new float[RnnStream.inputSize()];
    wrong[0] = Float.NaN;
    refuse(() -> stream.step(wrong, output));
  }

  private static void refuse(Runnable call) {
    try {
      call.run();
      throw new AssertionError("not refused");
    } catch (IllegalArgumentException refused) {
      System.out.println("refused: " + refused.getMessage());
    }
  }
}
