using System.Runtime.InteropServices;

namespace Qcow2Bitmaps.Benchmarks.Support;

/// <summary>
/// The library that QEMU deflates with, with QEMU's parameters: level 6, a window of 4 KiB, raw streams.
/// Kept for as long as the process runs.
/// </summary>
internal sealed unsafe partial class NativeZlib
{
    private const string Library = "libz.so.1";
    private const string Version = "1";
    private const int Level = 6;
    private const int Deflated = 8;
    private const int WindowBits = -12;
    private const int MemoryLevel = 9;
    private const int Finish = 4;
    private const int StreamEnd = 1;

    private readonly NativeStream* _deflating = (NativeStream*)NativeMemory.AllocZeroed((nuint)sizeof(NativeStream));
    private readonly NativeStream* _inflating = (NativeStream*)NativeMemory.AllocZeroed((nuint)sizeof(NativeStream));

    public NativeZlib()
    {
        Check(DeflateInit(_deflating, Level, Deflated, WindowBits, MemoryLevel, 0, Version, sizeof(NativeStream)), 0);
        Check(InflateInit(_inflating, WindowBits, Version, sizeof(NativeStream)), 0);
    }

    public int Compress(ReadOnlySpan<byte> content, Span<byte> compressed)
    {
        fixed (byte* source = content, target = compressed)
        {
            Set(_deflating, source, content.Length, target, compressed.Length);
            Check(DeflateReset(_deflating), 0);
            Check(Deflate(_deflating, Finish), StreamEnd);
            return compressed.Length - (int)_deflating->OutputLength;
        }
    }

    public void Decompress(ReadOnlySpan<byte> compressed, Span<byte> content)
    {
        fixed (byte* source = compressed, target = content)
        {
            Set(_inflating, source, compressed.Length, target, content.Length);
            Check(InflateReset(_inflating), 0);
            Check(Inflate(_inflating, Finish), StreamEnd);
        }
    }

    private static void Set(NativeStream* stream, byte* source, int sourceLength, byte* target, int targetLength)
    {
        stream->NextInput = source;
        stream->InputLength = (uint)sourceLength;
        stream->NextOutput = target;
        stream->OutputLength = (uint)targetLength;
    }

    private static void Check(int result, int expected)
    {
        if (result != expected)
        {
            throw new InvalidOperationException($"zlib says {result}");
        }
    }

    [LibraryImport(Library, EntryPoint = "deflateInit2_", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int DeflateInit(
        NativeStream* stream, int level, int method, int windowBits, int memoryLevel, int strategy, string version, int streamBytes);

    [LibraryImport(Library, EntryPoint = "deflateReset")]
    private static partial int DeflateReset(NativeStream* stream);

    [LibraryImport(Library, EntryPoint = "deflate")]
    private static partial int Deflate(NativeStream* stream, int flush);

    [LibraryImport(Library, EntryPoint = "inflateInit2_", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int InflateInit(NativeStream* stream, int windowBits, string version, int streamBytes);

    [LibraryImport(Library, EntryPoint = "inflateReset")]
    private static partial int InflateReset(NativeStream* stream);

    [LibraryImport(Library, EntryPoint = "inflate")]
    private static partial int Inflate(NativeStream* stream, int flush);

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
