package org.rnnedge.stream;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/** One running sequence of a model in C, whose state is kept between steps; for one thread. */
public final class RnnStream {
  static {
    System.loadLibrary("rnn_stream");
  }

  private final ByteBuffer state = ByteBuffer.allocateDirect(stateBytes());

  /** Starts at a state of zeros. */
  public RnnStream() {
    reset();
  }

  /** Sets the state to zeros. */
  public void reset() {
    init(state);
  }

  /**
   * Runs one step.
   *
   * @param frame {@link #inputSize} numbers, all finite: NaN would stay in the state.
   * @param output where {@link #outputSize} numbers are written
   */
  public void step(float[] frame, float[] output) {
    check("frame", frame.length, inputSize());
    check("output", output.length, outputSize());
    for (float value : frame) {
      if (Float.isNaN(value) || Float.isInfinite(value)) {
        throw new IllegalArgumentException("frame: expected finite values, got " + value);
      }
    }
    step(state, frame, output);
  }

  /** Returns a copy of the state, for {@link #restore}: bytes of this processor, for this model. */
  public byte[] save() {
    byte[] copy = new byte[stateBytes()];
    state.duplicate().order(ByteOrder.nativeOrder()).get(copy);
    return copy;
  }

  /** Continues from a state that {@link #save} returned. */
  public void restore(byte[] saved) {
    check("state", saved.length, stateBytes());
    state.duplicate().put(saved);
  }

  private static void check(String name, int got, int expected) {
    if (got != expected) {
      throw new IllegalArgumentException(name + ": expected " + expected + " values, got " + got);
    }
  }

  /** Numbers of a frame. */
  public static native int inputSize();

  /** Numbers of an output. */
  public static native int outputSize();

  private static native int stateBytes();

  private static native void init(ByteBuffer state);

  private static native void step(ByteBuffer state, float[] frame, float[] output);
}
