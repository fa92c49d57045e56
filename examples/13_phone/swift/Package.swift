// swift-tools-version: 5.7
// `kws` is the folder of `rnnedge export --target c -o kws/`, next to this file.
import PackageDescription

let package = Package(
  name: "RnnStream",
  products: [.library(name: "RnnStream", targets: ["RnnStream"])],
  targets: [
    .target(
      name: "kws",
      path: "kws",
      exclude: ["kws_test.c", "Makefile", "CMakeLists.txt", "README.md"],
      sources: ["kws.c", "kws_weights.c"],
      publicHeadersPath: "."
    ),
    .target(name: "RnnStream", dependencies: ["kws"]),
  ]
)
