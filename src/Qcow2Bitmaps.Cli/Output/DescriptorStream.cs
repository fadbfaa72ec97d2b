using System.ComponentModel;
using System.Runtime.InteropServices;
using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Cli.Output;

/// <summary>Writes to a descriptor of the process, from where its file stands: other processes may share that position.</summary>
internal sealed partial class DescriptorStream(int descriptor) : Stream
{
    public const int Output = 1;
    public const int Error = 2;

    private const int Interrupted = 4;
    private const int WouldBlock = 11;
    private const int BrokenPipe = 32;
    private const int GetFlags = 1;
    private const int ReadOnly = 0;
    private const short WritableEvent = 4;

    public override bool CanRead => false;

    public override bool CanSeek => false;

    public override bool CanWrite => true;

    public override long Length => throw new NotSupportedException();

    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    public static bool IsTerminal(int descriptor) => NativeIsTerminal(descriptor) == 1;

    /// <summary>
    /// Gives the number of each standard stream that is closed to a file that cannot be written. An image would get that number otherwise,
    /// and be overwritten with messages.
    /// </summary>
    public static void OccupyClosed()
    {
        for (int descriptor = 0; descriptor <= Error; descriptor++)
        {
            if (NativeControl(descriptor, GetFlags) < 0)
            {
                // The system gives the lowest number that is free.
                _ = NativeOpen("/dev/null\0"u8, ReadOnly);
            }
        }
    }

    public override void Flush()
    {
        // Nothing is kept here.
    }

    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));

    /// <inheritdoc/>
    /// <exception cref="IOException">The system refused; its error number is <see cref="Exception.HResult"/>.</exception>
    public override void Write(ReadOnlySpan<byte> buffer)
    {
        while (!buffer.IsEmpty)
        {
            nint written = NativeWrite(descriptor, buffer, (nuint)buffer.Length);
            if (written >= 0)
            {
                buffer = buffer[(int)written..];
                continue;
            }

            int error = Marshal.GetLastPInvokeError();
            if (error == WouldBlock)
            {
                // The reader of a pipe is slow.
                var poll = new PollDescriptor { Descriptor = descriptor, Events = WritableEvent };
                _ = NativePoll(ref poll, 1, -1);
            }
            else if (error == BrokenPipe)
            {
                // Nobody reads any more, as behind "| head": that is no failure of the command.
                return;
            }
            else if (error != Interrupted)
            {
                throw IOException.Of($"{new Win32Exception(error)}", error);
            }
        }
    }

    [LibraryImport("libc", EntryPoint = "write", SetLastError = true)]
    private static partial nint NativeWrite(int descriptor, ReadOnlySpan<byte> bytes, nuint count);

    [LibraryImport("libc", EntryPoint = "open")]
    private static partial int NativeOpen(ReadOnlySpan<byte> path, int flags);

    [LibraryImport("libc", EntryPoint = "fcntl")]
    private static partial int NativeControl(int descriptor, int command);

    [LibraryImport("libc", EntryPoint = "poll")]
    private static partial int NativePoll(ref PollDescriptor descriptor, nuint count, int timeoutMilliseconds);

    [LibraryImport("libc", EntryPoint = "isatty")]
    private static partial int NativeIsTerminal(int descriptor);

    /// <summary>The system's <c>struct pollfd</c>.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct PollDescriptor
    {
        public int Descriptor;
        public short Events;
        public short Result;
    }
}
