import kws

/// One running sequence of the model, whose state is kept between steps; for one thread.
public struct RnnStream {
  public static let inputSize = Int(KWS_INPUT_SIZE)
  public static let outputSize = Int(KWS_OUTPUT_SIZE)

  /// The state: a copy of the stream continues from the same one.
  private var state = kws_state()

  /// Starts at a state of zeros.
  public init() {
    kws_init(&state)
  }

  /// Sets the state to zeros.
  public mutating func reset() {
    kws_init(&state)
  }

  /// Runs one step on `inputSize` finite numbers, and returns `outputSize` numbers.
  public mutating func step(_ frame: [Float]) -> [Float] {
    precondition(frame.count == Self.inputSize, "frame: expected \(Self.inputSize) values")
    precondition(frame.allSatisfy(\.isFinite), "frame: expected finite values")
    var output = [Float](repeating: 0, count: Self.outputSize)
    kws_step(&state, frame, &output)
    return output
  }
}
