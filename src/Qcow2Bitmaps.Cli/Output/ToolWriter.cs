using System.Buffers;
using System.Text;
using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Cli.Output;

/// <summary>Standard output: text that may hold names from inside images, byte for byte, but harmless on a terminal.</summary>
internal sealed class ToolWriter(Stream stream, bool isTerminal)
{
    private readonly byte[] _buffer = new byte[1 << 16];
    private int _used;
    private IOException? _failure;

    /// <summary>Whether the output is a terminal.</summary>
    public bool IsTerminal => isTerminal;

    /// <summary>Writes text.</summary>
    /// <exception cref="IOException">The output failed; what was not written by then is dropped.</exception>
    public void Write(string text)
    {
        if (Ascii.FromUtf16(text, _buffer.AsSpan(_used), out int written) == OperationStatus.Done)
        {
            _used += written;
            return;
        }

        Write(ImageText.Encode(text));
    }

    /// <summary>Returns a buffer for ASCII text that is filled immediately; <see cref="Advance"/> states its final length.</summary>
    /// <param name="maxBytes">Its maximum length, up to a few hundred bytes.</param>
    public Span<byte> Take(int maxBytes)
    {
        if (maxBytes > _buffer.Length - _used)
        {
            Flush();
        }

        return _buffer.AsSpan(_used, maxBytes);
    }

    /// <summary>Writes the text that was put into the buffer.</summary>
    public void Advance(int bytes) => _used += bytes;

    public void WriteLine(string text)
    {
        Write(text);
        Write("\n");
    }

    /// <summary>A line for people, whatever the output is.</summary>
    public void WriteMessage(PrintableMessage message) => WriteLine((string)message);

    /// <summary>Text from inside an image or a path: as it is, as qemu-img prints it, but escaped on a terminal.</summary>
    public string Foreign(string text) => isTerminal ? ImageText.Escape(text) : text;

    /// <summary>Flushes all buffered text to the output. This must be called at the end.</summary>
    /// <exception cref="IOException">The output failed, now or in an earlier <see cref="TryFlush"/>.</exception>
    public void Flush()
    {
        TryFlush();
        if (_failure is { } failure)
        {
            _failure = null;
            throw failure;
        }
    }

    /// <summary>As <see cref="Flush"/>, but a failure is kept for the next <see cref="Flush"/>.</summary>
    public void TryFlush()
    {
        int used = _used;
        _used = 0;
        if (used == 0)
        {
            return;
        }

        try
        {
            Send(_buffer.AsSpan(0, used));
        }
        catch (IOException e)
        {
            _failure ??= e;
        }
    }

    private void Write(ReadOnlySpan<byte> bytes)
    {
        if (bytes.Length > _buffer.Length - _used)
        {
            Flush();
        }

        if (bytes.Length > _buffer.Length)
        {
            Send(bytes);
            return;
        }

        bytes.CopyTo(_buffer.AsSpan(_used));
        _used += bytes.Length;
    }

    private void Send(ReadOnlySpan<byte> bytes)
    {
        try
        {
            stream.Write(bytes);
            stream.Flush();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw IOException.Of($"Could not write to standard output: {e}", e);
        }
    }
}
