/*
 * Java's calls into a model that `rnnedge export --target c` wrote, with one float input and one
 * output. CMakeLists.txt defines MODEL, the folder's name, and both sizes.
 */
#include <jni.h>

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)
#define JOIN_OF(a, b) a##b
#define JOIN(a, b) JOIN_OF(a, b)
#define CALL(name) Java_org_rnnedge_stream_RnnStream_##name

#include TEXT(MODEL.h)

typedef JOIN(MODEL, _state) model_state;

JNIEXPORT jint JNICALL CALL(stateBytes)(JNIEnv *env, jclass type) {
  (void)env, (void)type;
  return (jint)sizeof(model_state);
}

JNIEXPORT jint JNICALL CALL(inputSize)(JNIEnv *env, jclass type) {
  (void)env, (void)type;
  return INPUT_SIZE;
}

JNIEXPORT jint JNICALL CALL(outputSize)(JNIEnv *env, jclass type) {
  (void)env, (void)type;
  return OUTPUT_SIZE;
}

JNIEXPORT void JNICALL CALL(init)(JNIEnv *env, jclass type, jobject state) {
  (void)type;
  JOIN(MODEL, _init)((*env)->GetDirectBufferAddress(env, state));
}

/* `RnnStream.step` has checked the sizes. */
JNIEXPORT void JNICALL CALL(step)(JNIEnv *env, jclass type, jobject state, jfloatArray frame,
                                  jfloatArray output) {
  float given[INPUT_SIZE], made[OUTPUT_SIZE];
  (void)type;
  (*env)->GetFloatArrayRegion(env, frame, 0, INPUT_SIZE, given);
  JOIN(MODEL, _step)((*env)->GetDirectBufferAddress(env, state), given, made);
  (*env)->SetFloatArrayRegion(env, output, 0, OUTPUT_SIZE, made);
}
