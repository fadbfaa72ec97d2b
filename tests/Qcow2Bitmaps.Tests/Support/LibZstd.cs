using System.Runtime.InteropServices;

namespace Qcow2Bitmaps.Tests.Support;

/// <summary>The library that QEMU decodes zstd with, called as QEMU calls it. It is where qemu-img is.</summary>
internal static unsafe partial class LibZstd
{
    private const string Library = "libzstd.so.1";
    private const int ResetSession = 1;
    private const int CompressionLevel = 100;
    private const int ContentSizeFlag = 200;
    private const int ChecksumFlag = 201;

    private static readonly Lazy<bool> s_isHere = new(static () => NativeLibrary.TryLoad(Library, out _));
    private static readonly Lazy<nint> s_decoder = new(CreateDecoder);
    private static readonly Lazy<nint> s_encoder = new(CreateEncoder);
    private static readonly Lock s_lock = new();

    /// <summary>Skips the running test unless the library is here.</summary>
    public static void Require() => Assert.SkipUnless(s_isHere.Value, "libzstd is not installed");

    public static byte[] Compress(ReadOnlySpan<byte> content, int level, bool checksum, bool contentSize)
    {
        lock (s_lock)
        {
            SetParameter(s_encoder.Value, CompressionLevel, level);
            SetParameter(s_encoder.Value, ChecksumFlag, checksum ? 1 : 0);
            SetParameter(s_encoder.Value, ContentSizeFlag, contentSize ? 1 : 0);
            var output = new byte[content.Length + (content.Length / 100) + 1000];
            fixed (byte* source = content, target = output)
            {
                nuint length = Compress2(s_encoder.Value, target, (nuint)output.Length, source, (nuint)content.Length);
                Assert.False(IsError(length));
                return output[..(int)length];
            }
        }
    }

    /// <summary>Decodes a cluster in QEMU's loop: until the cluster is full, and then asks whether the frame is complete.</summary>
    public static bool TryDecodeAsQemu(ReadOnlySpan<byte> compressed, Span<byte> cluster)
    {
        lock (s_lock)
        {
            nint decoder = s_decoder.Value;
            ResetDecoder(decoder, ResetSession);
            fixed (byte* source = compressed, target = cluster)
            {
                var input = new NativeBuffer { Bytes = source, Length = (nuint)compressed.Length };
                var output = new NativeBuffer { Bytes = target, Length = (nuint)cluster.Length };
                nuint result = 0;
                while (output.Position < output.Length)
                {
                    (nuint before, nuint made) = (input.Position, output.Position);
                    result = DecompressStream(decoder, &output, &input);
                    if (IsError(result) || (input.Position == before && output.Position == made))
                    {
                        return false;
                    }
                }

                return result == 0;
            }
        }
    }

    // The library's errors are the highest numbers.
    private static bool IsError(nuint result) => result > nuint.MaxValue - 1000;

    [LibraryImport(Library, EntryPoint = "ZSTD_createCCtx")]
    private static partial nint CreateEncoder();

    [LibraryImport(Library, EntryPoint = "ZSTD_CCtx_setParameter")]
    private static partial nuint SetParameter(nint encoder, int parameter, int value);

    [LibraryImport(Library, EntryPoint = "ZSTD_compress2")]
    private static partial nuint Compress2(nint encoder, byte* target, nuint targetLength, byte* source, nuint sourceLength);

    [LibraryImport(Library, EntryPoint = "ZSTD_createDCtx")]
    private static partial nint CreateDecoder();

    [LibraryImport(Library, EntryPoint = "ZSTD_DCtx_reset")]
    private static partial nuint ResetDecoder(nint decoder, int what);

    [LibraryImport(Library, EntryPoint = "ZSTD_decompressStream")]
    private static partial nuint DecompressStream(nint decoder, NativeBuffer* output, NativeBuffer* input);

    [StructLayout(LayoutKind.Sequential)]
    private struct NativeBuffer
    {
        public byte* Bytes;
        public nuint Length;
        public nuint Position;
    }
}
