import js from "@eslint/js";

const shared = [
  "TextDecoder",
  "TextEncoder",
  "fetch",
  "URL",
  "crypto",
  "performance",
  "setTimeout",
  "clearTimeout",
  "Blob",
  "DecompressionStream",
  "FinalizationRegistry",
  "Response",
  "WebAssembly",
  "atob",
];
const inTests = ["process", "Buffer", "console", "location"];

/** @param {readonly string[]} names */
const readonly = (names) => Object.fromEntries(names.map((name) => [name, "readonly"]));

export default [
  { ignores: ["types/", "node_modules/", "tests/models/", "src/wasm/module.js"] },
  js.configs.recommended,
  {
    languageOptions: { ecmaVersion: 2023, sourceType: "module", globals: readonly(shared) },
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: {
      complexity: ["error", 10],
      eqeqeq: "error",
      "max-lines": ["error", 400],
      "max-len": ["error", { code: 100, ignorePattern: "^import |https?://" }],
      "max-params": ["error", 5],
      "no-console": "error",
      "no-shadow": "error",
      "no-var": "error",
      "prefer-const": "error",
    },
  },
  {
    files: ["tests/**"],
    languageOptions: { globals: readonly([...shared, ...inTests]) },
  },
];
