using System.Runtime.InteropServices;

namespace Qcow2Bitmaps.Tests.Support;

/// <summary>The library that QEMU inflates with. It is where qemu-img is.</summary>
internal static unsafe partial class LibZ
{
    private const string Library = "libz.so.1";
    private const string Version = "1";
    private const int NoFlush = 0;
    private const int Finish = 4;
    private const int StreamEnd = 1;
    private const int Deflated = 8;

    private static readonly Lazy<bool> s_isHere = new(static () => NativeLibrary.TryLoad(Library, out _));

    /// <summary>Skips the running test unless the library is here.</summary>
    public static void Require() => Assert.SkipUnless(s_isHere.Value, "zlib is not installed");

    /// <summary>Inflates a raw stream in small pieces, so that no distance above the window can be served.</summary>
    /// <param name="compressed">The whole stream, and nothing behind it.</param>
    /// <param name="content">Gets the content.</param>
    /// <param name="windowBits">The logarithm of the window's size.</param>
    /// <param name="pieceBytes">How much is taken at a time.</param>
    public static bool TryInflate(ReadOnlySpan<byte> compressed, Span<byte> content, int windowBits, int pieceBytes)
    {
        NativeStream stream = default;
        Assert.Equal(0, InflateInit(&stream, -windowBits, Version, sizeof(NativeStream)));
        var piece = new byte[pieceBytes];
        int result = 0;
        int made = 0;
        fixed (byte* source = compressed, target = piece)
        {
            stream.NextInput = source;
            stream.InputLength = (uint)compressed.Length;
            while (result == 0)
            {
                stream.NextOutput = target;
                stream.OutputLength = (uint)piece.Length;
                result = Inflate(&stream, NoFlush);
                int got = piece.Length - (int)stream.OutputLength;
                if (got > content.Length - made)
                {
                    break;
                }

                piece.AsSpan(0, got).CopyTo(content[made..]);
                made += got;
            }
        }

        bool isWhole = result == StreamEnd && made == content.Length && stream.InputLength == 0;
        InflateEnd(&stream);
        return isWhole;
    }

    /// <summary>Deflates to a raw stream.</summary>
    public static byte[] Deflate(ReadOnlySpan<byte> content, int windowBits, int level)
    {
        NativeStream stream = default;
        Assert.Equal(0, DeflateInit(&stream, level, Deflated, -windowBits, 9, 0, Version, sizeof(NativeStream)));
        var output = new byte[content.Length + (content.Length / 100) + 1000];
        fixed (byte* source = content, target = output)
        {
            stream.NextInput = source;
            stream.InputLength = (uint)content.Length;
            stream.NextOutput = target;
            stream.OutputLength = (uint)output.Length;
            Assert.Equal(StreamEnd, Deflate(&stream, Finish));
        }

        DeflateEnd(&stream);
        return output[..^(int)stream.OutputLength];
    }

    [LibraryImport(Library, EntryPoint = "inflateInit2_", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int InflateInit(NativeStream* stream, int windowBits, string version, int streamBytes);

    [LibraryImport(Library, EntryPoint = "inflate")]
    private static partial int Inflate(NativeStream* stream, int flush);

    [LibraryImport(Library, EntryPoint = "inflateEnd")]
    private static partial void InflateEnd(NativeStream* stream);

    [LibraryImport(Library, EntryPoint = "deflateInit2_", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int DeflateInit(
        NativeStream* stream, int level, int method, int windowBits, int memoryLevel, int strategy, string version, int streamBytes);

    [LibraryImport(Library, EntryPoint = "deflate")]
    private static partial int Deflate(NativeStream* stream, int flush);

    [LibraryImport(Library, EntryPoint = "deflateEnd")]
    private static partial void DeflateEnd(NativeStream* stream);

    [StructLayout(LayoutKind.Sequential)]
    private struct NativeStream
    {
        public byte* NextInput;
        public uint InputLength;
        public nuint InputTotal;
        public byte* NextOutput;
        public uint OutputLength;
        public nuint OutputTotal;
        public nint Message;
        public nint State;
        public nint Allocate;
        public nint Free;
        public nint Opaque;
        public int DataType;
        public nuint Checksum;
        public nuint Reserved;
    }
}
