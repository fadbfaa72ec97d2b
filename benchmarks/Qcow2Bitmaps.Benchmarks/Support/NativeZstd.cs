using System.Runtime.InteropServices;

namespace Qcow2Bitmaps.Benchmarks.Support;

/// <summary>The library that QEMU decodes zstd with, to measure beside.</summary>
internal static unsafe partial class NativeZstd
{
    private const string Library = "libzstd.so.1";

    private static readonly nint s_decoder = CreateDecoder();

    public static byte[] Compress(ReadOnlySpan<byte> content, int level)
    {
        var output = new byte[content.Length + (content.Length / 100) + 1000];
        fixed (byte* source = content, target = output)
        {
            return output[..(int)Compress(target, (nuint)output.Length, source, (nuint)content.Length, level)];
        }
    }

    public static void Decompress(ReadOnlySpan<byte> compressed, Span<byte> content)
    {
        fixed (byte* source = compressed, target = content)
        {
            if (Decompress(s_decoder, target, (nuint)content.Length, source, (nuint)compressed.Length) != (nuint)content.Length)
            {
                throw new InvalidOperationException("The library does not decode its own frame");
            }
        }
    }

    [LibraryImport(Library, EntryPoint = "ZSTD_createDCtx")]
    private static partial nint CreateDecoder();

    [LibraryImport(Library, EntryPoint = "ZSTD_compress")]
    private static partial nuint Compress(byte* target, nuint targetLength, byte* source, nuint sourceLength, int level);

    [LibraryImport(Library, EntryPoint = "ZSTD_decompressDCtx")]
    private static partial nuint Decompress(nint decoder, byte* target, nuint targetLength, byte* source, nuint sourceLength);
}
