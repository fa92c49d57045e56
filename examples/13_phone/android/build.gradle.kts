// A library module of an Android application: include it in settings.gradle.kts.
plugins {
    id("com.android.library")
}

android {
    namespace = "org.rnnedge.stream"
    compileSdk = 35
    defaultConfig {
        minSdk = 21
        externalNativeBuild {
            cmake {
                arguments += "-DMODEL_FOLDER=${rootProject.file("kws")}"
            }
        }
        ndk {
            abiFilters += listOf("arm64-v8a", "armeabi-v7a", "x86_64")
        }
    }
    externalNativeBuild {
        cmake {
            path = file("CMakeLists.txt")
        }
    }
}
